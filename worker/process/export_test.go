package process

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

var PIDDomain = pidDomain

func StartOf(pid int) uint64 {
	p, _ := lookUp(pid)
	return p.start
}

// FakeHost writes the records of a host that is gone.
func FakeHost(t *testing.T, runDir, domain, run string, pid int, start uint64) {
	t.Helper()
	dir := filepath.Join(runDir, "hosts", "1-"+run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]any{
		hostFile: identity{PID: 1, Start: 1, Domain: domain},
		run:      workerFile{PID: pid, Start: start},
	} {
		b, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
