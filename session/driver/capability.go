package driver

import "context"

// Info describes a driver: its name in metrics and errors, what it promises,
// and its limits.
type Info struct {
	// Name is a short word such as "memory" or "disk"; it becomes a metric
	// label.
	Name string
	// Durable says that an acknowledged write survives the process.
	Durable bool
	Limits  Limits
}

// Limits of a driver, in bytes except BatchItems. Package session refuses what
// is larger before it calls, with ErrTooLarge, and splits programs into items
// that fit.
type Limits struct {
	// Head is the largest head; at least 4 KiB.
	Head int
	// Record is the largest head and body together.
	Record int
	// Item is the largest item.
	Item int
	// Batch is the largest sum of head, body and items of one batch.
	Batch int
	// BatchItems is the largest number of items put and dropped in one batch.
	BatchItems int
}

// Describer is implemented by every driver that has something to declare.
// DefaultInfo holds for the others.
type Describer interface {
	Describe() Info
}

// DefaultInfo is what package session assumes of a driver without Describer.
var DefaultInfo = Info{
	Name: "custom",
	Limits: Limits{
		Head:       4 << 10,
		Record:     1 << 20,
		Item:       256 << 10,
		Batch:      2 << 20,
		BatchItems: 1000,
	},
}

// Counter is implemented by drivers that know the number of their records,
// expired ones included, without listing them.
type Counter interface {
	Count(ctx context.Context) (int, error)
}

// Unwrapper is implemented by a Store that adds something around another one.
type Unwrapper interface {
	Unwrap() Store
}

// As finds the capability T in s or in what s wraps.
func As[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		u, ok := s.(Unwrapper)
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	var none T
	return none, false
}

// Describe returns what s declares of itself, or DefaultInfo.
func Describe(s Store) Info {
	if d, ok := As[Describer](s); ok {
		return d.Describe()
	}
	return DefaultInfo
}
