package session_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/snakepit-go/snakepit/session"
)

func TestList(t *testing.T) {
	st := open(t, nil, nil)
	var all, red, prefixed []string
	for i := range 250 {
		id := fmt.Sprintf("%c-%03d", "ab"[i%2], i)
		labels := map[string]string{"color": "blue", "n": fmt.Sprint(i % 10)}
		if i%5 == 0 {
			labels["color"] = "red"
			red = append(red, id)
		}
		if i%2 == 1 {
			prefixed = append(prefixed, id)
		}
		create(t, st, id, &session.CreateOptions{Labels: labels, Vars: vars("a", "1")})
		all = append(all, id)
	}
	slices.Sort(all)
	slices.Sort(red)
	for _, tt := range []struct {
		name  string
		opts  session.ListOptions
		want  []string
		pages int
	}{
		{"all", session.ListOptions{}, all, 3},
		{"one page", session.ListOptions{Limit: 250}, all, 1},
		{"full pages", session.ListOptions{Limit: 125}, all, 2},
		{"ones", session.ListOptions{Limit: 1}, all, 250},
		{"prefix", session.ListOptions{Prefix: "b-", Limit: 50}, prefixed, 3},
		{"label", session.ListOptions{Labels: map[string]string{"color": "red"}, Limit: 10}, red, 5},
		{"labels", session.ListOptions{Labels: map[string]string{"color": "red", "n": "1"}}, nil, 1},
		{"nothing", session.ListOptions{Prefix: "c"}, nil, 1},
		{"after", session.ListOptions{After: all[200]}, all[201:], 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if n := must[int](t)(st.Count(t.Context(), tt.opts)); n != len(tt.want) {
				t.Errorf("%d counted, want %d", n, len(tt.want))
			}
			var iterated []string
			for s, err := range st.All(t.Context(), tt.opts) {
				if err != nil {
					t.Fatal(err)
				}
				iterated = append(iterated, s.ID())
			}
			if !slices.Equal(iterated, tt.want) {
				t.Errorf("iterated %v, want %v", iterated, tt.want)
			}
			var listed []string
			pages := 0
			for opts := tt.opts; ; pages++ {
				page := must[session.Page](t)(st.List(t.Context(), opts))
				for _, s := range page.Sessions {
					listed = append(listed, s.ID())
					if s.Vars() != nil || s.Metadata() != nil || s.Size().VarsBytes != 2 {
						t.Errorf("view of a list has variables %s, size %+v", s.Vars(), s.Size())
					}
				}
				if page.Next == "" {
					break
				}
				opts.After = page.Next
			}
			if !slices.Equal(listed, tt.want) || pages+1 != tt.pages {
				t.Errorf("listed %v in %d pages, want %v in %d", listed, pages+1, tt.want, tt.pages)
			}
		})
	}
}

func TestAllCanBeLeft(t *testing.T) {
	st := open(t, nil, nil)
	for i := range 10 {
		create(t, st, fmt.Sprint(i), nil)
	}
	n := 0
	for range st.All(t.Context(), session.ListOptions{Limit: 3}) {
		if n++; n == 4 {
			break
		}
	}
	if n != 4 {
		t.Errorf("%d sessions", n)
	}
	st.Close()
	errs := 0
	for s, err := range st.All(t.Context(), session.ListOptions{}) {
		if errs++; s != nil || !errors.Is(err, session.ErrClosed) {
			t.Errorf("%v, %v", s, err)
		}
	}
	if errs != 1 {
		t.Errorf("%d errors", errs)
	}
}
