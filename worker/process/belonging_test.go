package process

import (
	"slices"
	"testing"
)

func TestBelonging(t *testing.T) {
	const self = 1
	records := []record{{run: "a", pid: 10, start: 100}, {run: "b"}}
	for name, c := range map[string]struct {
		procs []proc
		want  []int
	}{
		"the worker and its group": {
			[]proc{{pid: 10, group: 10, start: 100}, {pid: 11, group: 10, start: 101}},
			[]int{10, 11},
		},
		"a recorded number whose process says that it is another": {
			[]proc{{pid: 10, group: 10, start: 100, run: "c"}, {pid: 11, group: 10, start: 101}},
			nil,
		},
		"a group without its leader needs a member with the run id": {
			[]proc{{pid: 11, group: 10, start: 101, run: "a"}, {pid: 12, group: 10, start: 102}},
			[]int{11, 12},
		},
		"a group without any proof is left alone": {
			[]proc{{pid: 12, group: 10, start: 102}},
			nil,
		},
		"a stranger with the number, and its group": {
			[]proc{{pid: 10, group: 10, start: 999}, {pid: 11, group: 10, start: 1000}},
			nil,
		},
		"a child that left the group": {
			[]proc{{pid: 20, group: 20, start: 103, run: "a"}, {pid: 21, group: 20, start: 104, run: "b"}},
			[]int{20, 21},
		},
		"others of a group that is not recorded": {
			[]proc{{pid: 20, group: 30, start: 103, run: "a"}, {pid: 30, group: 30, start: 1}},
			[]int{20},
		},
		"another run, no run, and ourselves": {
			[]proc{{pid: 40, group: 40, run: "c"}, {pid: 41, group: 41}, {pid: self, group: 1, run: "a"}},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for _, p := range belonging(c.procs, records, self) {
				got = append(got, p.pid)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
