package diskstore

import (
	"fmt"
	"strings"

	"github.com/snakepit-go/snakepit/session/driver"
)

// Damage is something in a store that is not as it was written.
type Damage struct {
	// File is relative to the directory of the store, with slashes.
	File string
	// Reason says what is wrong with it.
	Reason string
	// Sound is up to where a log is as it was written, and Lost how many bytes
	// that were on disk follow.
	Sound, Lost int64
}

func (d Damage) String() string { return d.File + ": " + d.Reason }

// DamageError says why a store was not opened: some of what was acknowledged
// may be lost, and whoever owns it must decide. It is a driver.ErrCorrupt.
type DamageError struct {
	Dir string
	// Closed says that the store had been closed, so that its logs held
	// nothing that its tables did not.
	Closed bool
	Damage []Damage
}

func (e *DamageError) Error() string {
	lines := make([]string, len(e.Damage))
	onlyLogs := true
	for i, d := range e.Damage {
		lines[i] = d.String()
		onlyLogs = onlyLogs && strings.HasSuffix(d.File, ".log")
	}
	consequence := "acknowledged writes may be lost"
	if e.Closed && onlyLogs {
		consequence = "the store had been closed, and no write was in a log only"
	}
	return fmt.Sprintf("the session store is damaged (%s); %s; restore the directory from a backup, or see what is left with "+
		"`snakepit store check --data %[3]s` and go on with it by `snakepit store repair --data %[3]s`",
		strings.Join(lines, "; "), consequence, e.Dir)
}

// Is makes errors.Is(err, driver.ErrCorrupt) true.
func (e *DamageError) Is(target error) bool { return target == driver.ErrCorrupt }
