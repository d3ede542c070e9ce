package session

import (
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"github.com/snakepit-go/snakepit/session/driver"
)

// OpID identifies one write among those of a session.
type OpID = driver.OpID

// OperationFor returns the operation id that stands for what a caller calls
// its operation.
func OperationFor(callID string) OpID {
	sum := sha256.Sum256([]byte(callID))
	return OpID(sum[:len(OpID{})])
}

// NewOperation returns an operation id that nobody else has.
func NewOperation() OpID { return OpID(newBits()) }

// NewID returns a session id that nobody can guess, for callers who have none
// of their own.
func NewID() string {
	var b [16]byte
	crand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// incarnation tells a session from all others, also from later ones of the
// same id.
type incarnation [16]byte

func newIncarnation() incarnation { return incarnation(newBits()) }

func (i incarnation) String() string { return hex.EncodeToString(i[:]) }

// newBits returns 128 random bits: unique, but no secret, so the process's own
// generator serves.
func newBits() (b [16]byte) {
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return b
}

// Owner is the process that may run calls in a session.
type Owner struct {
	// Node names the machine or pod, for people and routing.
	Node string
	// Process is unique for each start of the process.
	Process string
	// Epoch grows whenever the owner changes.
	Epoch uint64
}

// Fence is what a commit must match: it comes from the session as it was when
// the call began.
type Fence struct {
	// Incarnation is that of the session.
	Incarnation string
	// Epoch is that of its owner, 0 if it had none.
	Epoch uint64
}
