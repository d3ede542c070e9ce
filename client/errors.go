package client

import "github.com/snakepit-go/snakepit/internal/wireerr"

// ErrOverloaded: the server has as many bytes of requests in work as it takes.
// Nothing was done; the same request may succeed later.
var ErrOverloaded = wireerr.ErrOverloaded
