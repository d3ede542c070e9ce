package diskstore_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain also is the process that the kill test kills: the test binary runs
// itself with writerEnv set to the directory.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		os.Exit(writeUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}
