package client_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/client"
	"github.com/snakepit-go/snakepit/server"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server over an engine with one pool of workers in this process,
// unless change says otherwise, and returns a client of it.
func serve(t testing.TB, change func(*snakepit.Config)) (*client.Client, *snakepit.Engine) {
	t.Helper()
	cfg := snakepit.Config{
		Pools:  []snakepit.PoolConfig{{Workers: 2, Transport: new(workertest.Fake)}},
		RunDir: t.TempDir(),
	}
	if change != nil {
		change(&cfg)
	}
	engine, err := snakepit.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	c, _ := dial(t, server.New(server.Options{Engine: engine}))
	return c, engine
}

// dial serves on a free port until the test ends and returns a client.
func dial(t testing.TB, s *server.Server) (*client.Client, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	c, err := client.New("http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c, l.Addr().String()
}
