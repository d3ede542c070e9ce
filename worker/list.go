package worker

// list is a doubly linked list whose nodes are part of the values themselves:
// joining, and leaving from anywhere, cost no allocation and constant time.
type list[T any] struct {
	front, back *node[T]
}

// node is the place of one value in at most one list.
type node[T any] struct {
	value      T
	prev, next *node[T]
	in         *list[T]
}

func (l *list[T]) pushBack(n *node[T]) {
	n.in, n.prev, n.next = l, l.back, nil
	if l.back != nil {
		l.back.next = n
	} else {
		l.front = n
	}
	l.back = n
}

// leave takes the node out of its list, if it is in one.
func (n *node[T]) leave() {
	if n.in == nil {
		return
	}
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		n.in.front = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		n.in.back = n.prev
	}
	n.in, n.prev, n.next = nil, nil, nil
}
