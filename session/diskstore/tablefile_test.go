package diskstore_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/session/diskstore"
	"github.com/snakepit-go/snakepit/session/driver"
)

// TestDamageInALargeBlock flips bits in the block of a large record, and reads
// it. The database looked for the flipped bit for minutes at each read.
func TestDamageInALargeBlock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	st, err := diskstore.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 4<<20)
	if _, err := rand.Read(body); err != nil {
		t.Fatal(err)
	}
	batch := &driver.Batch{If: driver.IfAbsent, Head: []byte("head"), Body: body}
	if _, err := st.Apply(t.Context(), "large", batch); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		data, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, body[2<<20:2<<20+64]); at >= 0 {
			data[at] ^= 0xff
		}
		if err := os.WriteFile(table, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := make(chan error, 1)
	go func() {
		report, err := diskstore.Check(t.Context(), dir, nil)
		if err == nil && len(report.Damage) == 0 {
			err = errors.New("no damage was found")
		}
		read <- err
	}()
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a read of the damaged block does not end")
	}
}
