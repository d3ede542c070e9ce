package session

import (
	"context"
	"errors"
	"time"
)

// Observer is told what a Store does. Functions that are nil are not called.
// They run on the caller's goroutine and must be quick and safe for concurrent
// use.
type Observer struct {
	// Operation is called at the end of every operation.
	Operation func(op Operation, result Result, d time.Duration)
	// Created, Deleted and Expired are called once for each session that was
	// created, deleted or removed after it had expired, by the store whose
	// write did it.
	Created func(id, incarnation string)
	Deleted func(id, incarnation string)
	Expired func(id, incarnation string)
	// Overwritten is called after a commit that set or unset variables which
	// another write had changed since the call got them: see Basis.
	Overwritten func(id, incarnation string, keys []string)
}

func (o *Observer) created(id, incarnation string) {
	if o.Created != nil {
		o.Created(id, incarnation)
	}
}

func (o *Observer) deleted(id, incarnation string) {
	if o.Deleted != nil {
		o.Deleted(id, incarnation)
	}
}

func (o *Observer) expired(id, incarnation string) {
	if o.Expired != nil {
		o.Expired(id, incarnation)
	}
}

func (o *Observer) overwritten(id, incarnation string, keys []string) {
	if o.Overwritten != nil {
		o.Overwritten(id, incarnation, keys)
	}
}

// Operation names what was asked of a Store.
type Operation uint8

// The operations of a Store.
const (
	OpCreate Operation = iota
	OpGet
	OpPeek
	OpTouch
	OpUpdate
	OpPatch
	OpPut
	OpDelete
	OpExists
	OpList
	OpCount
	OpClaim
	OpCommit
	OpProgramPut
	OpProgramOpen
	OpProgramRead
	OpProgramStage
	OpProgramList
	OpProgramDelete
	OpCallFind
	OpCallKeep
	OpCallClose
	OpStats
	OpSweep
	OpPing
	numOperations
)

var operationNames = [numOperations]string{
	"create", "get", "peek", "touch", "update", "patch", "put", "delete", "exists", "list", "count", "claim", "commit",
	"program_put", "program_open", "program_read", "program_stage", "program_list", "program_delete",
	"call_find", "call_keep", "call_close",
	"stats", "sweep", "ping",
}

func (op Operation) String() string { return operationNames[op] }

// Operations returns all operations, for those who count them.
func Operations() []Operation {
	all := make([]Operation, numOperations)
	for i := range all {
		all[i] = Operation(i)
	}
	return all
}

// Result classifies the end of an operation.
type Result uint8

// The results of operations. Only ResultUnavailable, ResultUnknown,
// ResultCorrupt, ResultFull, ResultTimeout and ResultError are faults; the
// others are answers.
const (
	ResultOK Result = iota
	ResultNotFound
	ResultConflict
	ResultInvalid
	ResultQuota
	ResultFull
	ResultTooLarge
	ResultUnavailable
	ResultUnknown
	ResultCorrupt
	ResultFenced
	ResultCanceled
	ResultTimeout
	ResultError
	numResults
)

var resultNames = [numResults]string{
	"ok", "not_found", "conflict", "invalid", "quota", "full", "too_large", "unavailable", "unknown", "corrupt", "fenced",
	"canceled", "timeout", "error",
}

func (r Result) String() string { return resultNames[r] }

// Results returns all results, for those who count them.
func Results() []Result {
	all := make([]Result, numResults)
	for i := range all {
		all[i] = Result(i)
	}
	return all
}

// resultOf classifies err. The order matters where an error wraps two
// sentinels: the one that tells the caller more comes first.
func resultOf(err error) Result {
	if err == nil {
		return ResultOK
	}
	for _, c := range [...]struct {
		sentinel error
		result   Result
	}{
		{ErrAlreadyCommitted, ResultOK},
		{ErrUnknown, ResultUnknown},
		{ErrUpdateFailed, ResultError},
		{ErrNotFound, ResultNotFound},
		{ErrConflict, ResultConflict},
		{ErrFenced, ResultFenced},
		{ErrQuotaExceeded, ResultQuota},
		{ErrStoreFull, ResultFull},
		{ErrTooLarge, ResultTooLarge},
		{ErrInvalid, ResultInvalid},
		{ErrCorrupt, ResultCorrupt},
		{ErrUnavailable, ResultUnavailable},
		{context.Canceled, ResultCanceled},
		{context.DeadlineExceeded, ResultTimeout},
	} {
		if errors.Is(err, c.sentinel) {
			return c.result
		}
	}
	return ResultError
}
