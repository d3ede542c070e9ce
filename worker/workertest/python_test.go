package workertest_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/snakepit-go/snakepit/internal/testenv"
	"github.com/snakepit-go/snakepit/python"
	"github.com/snakepit-go/snakepit/worker"
	"github.com/snakepit-go/snakepit/worker/frames"
	"github.com/snakepit-go/snakepit/worker/process"
	"github.com/snakepit-go/snakepit/worker/workertest"
)

// TestPython holds tools.py, the Python SDK, the frames transport and the
// launcher of processes together to the suite.
func TestPython(t *testing.T) {
	interpreter := testenv.Python(t)
	dir := t.TempDir()
	library, err := python.Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	launcher, err := process.New(process.Options{RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := launcher.Close(); err != nil {
			t.Error(err)
		}
	})
	workers := func(name, text string) func(testing.TB) worker.Transport {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(testing.TB) worker.Transport {
			return frames.New(frames.Options{
				Launcher: launcher,
				Command: func(worker.Spec) (worker.Command, error) {
					return worker.Command{
						Path: interpreter, Args: []string{"-m", "snakepit", path}, Env: []string{"PYTHONPATH=" + library},
					}, nil
				},
			})
		}
	}
	workertest.Run(t, workertest.Harness{
		Transport: workers("tools.py", workertest.PythonTools),
		Broken:    workers("broken.py", "import a_module_that_does_not_exist\n"),
		Signals:   runtime.GOOS == "linux",
	})
}
