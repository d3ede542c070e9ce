package customdriver_test

// What the suite cannot know of this driver: its files. Every driver has some
// tests like these beside the suite.

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/snakepit-go/snakepit/examples/customdriver"
	"github.com/snakepit-go/snakepit/session/driver"
)

func TestDirectoryIsClaimed(t *testing.T) {
	dir := t.TempDir()
	s, err := customdriver.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := customdriver.Open(dir); !errors.Is(err, driver.ErrLocked) {
		t.Errorf("second Open: error %v, want %v", err, driver.ErrLocked)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = customdriver.Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNameOfDirectory uses a name that is a pattern, too.
func TestNameOfDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[a]*")
	s, err := customdriver.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), "s", &driver.Batch{Head: []byte("head"), Body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = customdriver.Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "s", driver.Read{}); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFileIsNoticed(t *testing.T) {
	dir := t.TempDir()
	s, err := customdriver.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), "s", &driver.Batch{Head: []byte("head"), Body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.session"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for n := range text {
		damaged := bytes.Clone(text)
		damaged[n] ^= 1
		for _, damaged := range [][]byte{damaged, text[:n]} {
			if err := os.WriteFile(files[0], damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := customdriver.Open(dir); !errors.Is(err, driver.ErrCorrupt) {
				t.Fatalf("byte %d damaged: error %v, want %v", n, err, driver.ErrCorrupt)
			}
		}
	}
}

// TestCrashWhileWriting leaves what a crash leaves: a file half written beside
// the whole one.
func TestCrashWhileWriting(t *testing.T) {
	dir := t.TempDir()
	s, err := customdriver.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := s.Apply(t.Context(), "s", &driver.Batch{Head: []byte("head"), Body: []byte("body")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "writing.tmp"), []byte("half a f"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = customdriver.Open(dir); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "s", driver.Read{})
	if err != nil || r.Revision != revision || string(r.Head) != "head" || string(r.Body) != "body" {
		t.Errorf("Get: %+v, %v", r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := customdriver.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A directory of that name is in the way of the temporary file, which
	// works for root, too, unlike missing permission.
	obstacle := filepath.Join(dir, "writing.tmp")
	if err := os.Mkdir(obstacle, 0o700); err != nil {
		t.Fatal(err)
	}
	b := &driver.Batch{If: driver.IfAbsent, Head: []byte("head"), Body: []byte("body")}
	if _, err := s.Apply(t.Context(), "s", b); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("error %v, want %v", err, driver.ErrUnavailable)
	}
	if _, err := s.Get(t.Context(), "s", driver.Read{}); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Get: error %v, want %v", err, driver.ErrNotFound)
	}
	if err := os.Remove(obstacle); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), "s", b); err != nil {
		t.Errorf("after repair: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
