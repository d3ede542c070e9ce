package driver

import "fmt"

// Check returns ErrInvalid if the parts of the batch contradict one another,
// and ErrTooLarge if it exceeds the limits. Every driver calls it first in
// Apply, so that all of them refuse the same batches.
func (b *Batch) Check(limits Limits) error {
	switch {
	case b.If > IfRevision:
		return fmt.Errorf("batch with the unknown condition %d: %w", b.If, ErrInvalid)
	case b.If == IfRevision && b.Revision == 0:
		return fmt.Errorf("batch conditioned on no revision: %w", ErrInvalid)
	case b.Delete && b.Head != nil:
		return fmt.Errorf("batch that both stores and deletes the record: %w", ErrInvalid)
	case b.Delete && b.If == IfAbsent:
		return fmt.Errorf("batch that deletes an absent record: %w", ErrInvalid)
	case b.Head == nil && b.Body != nil:
		return fmt.Errorf("batch with a body and no head: %w", ErrInvalid)
	case b.Head != nil && b.Body == nil && b.If != IfRevision:
		return fmt.Errorf("batch that keeps the body without naming the revision: %w", ErrInvalid)
	}

	record := len(b.Head) + len(b.Body)
	total := record
	for _, item := range b.Put {
		if len(item.Data) > limits.Item {
			return fmt.Errorf("item %q of %d bytes, at most %d: %w", item.Key, len(item.Data), limits.Item, ErrTooLarge)
		}
		total += len(item.Data)
	}
	items := len(b.Put) + len(b.Drop) + len(b.Absent)
	switch {
	case len(b.Head) > limits.Head:
		return fmt.Errorf("head of %d bytes, at most %d: %w", len(b.Head), limits.Head, ErrTooLarge)
	case record > limits.Record:
		return fmt.Errorf("record of %d bytes, at most %d: %w", record, limits.Record, ErrTooLarge)
	case total > limits.Batch:
		return fmt.Errorf("batch of %d bytes, at most %d: %w", total, limits.Batch, ErrTooLarge)
	case items > limits.BatchItems:
		return fmt.Errorf("batch of %d items, at most %d: %w", items, limits.BatchItems, ErrTooLarge)
	}
	if len(b.Put) > 0 && len(b.Drop) > 0 {
		put := make(map[string]struct{}, len(b.Put))
		for _, item := range b.Put {
			put[item.Key] = struct{}{}
		}
		for _, key := range b.Drop {
			if _, both := put[key]; both {
				return fmt.Errorf("batch that puts and drops item %q: %w", key, ErrInvalid)
			}
		}
	}
	return nil
}

// Permits returns nil if the conditions of the batch hold for a record at the
// given revision, zero if there is none, and for the items that has knows;
// otherwise ErrExists or ErrConflict for the record, or else ErrItemExists.
// A driver calls it under whatever keeps record and items as they are until
// the batch is applied. Has is asked only for the keys of Absent.
func (b *Batch) Permits(current Revision, has func(key string) bool) error {
	switch {
	case b.If == IfAbsent && current != 0:
		return ErrExists
	case b.If == IfRevision && current != b.Revision:
		return ErrConflict
	}
	for _, key := range b.Absent {
		if has(key) {
			return fmt.Errorf("item %q: %w", key, ErrItemExists)
		}
	}
	return nil
}
