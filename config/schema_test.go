package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestEnvironmentNamesAreUniqueAndSetTheirKey(t *testing.T) {
	names := map[string]string{}
	for s := range root.leaves {
		name := s.environment()
		if other, dup := names[name]; dup {
			t.Errorf("%s and %s are both %s", s.key, other, name)
		}
		names[name] = s.key
		if foreign(name) {
			t.Errorf("%s is taken for a variable of another program", name)
		}

		c, err := Load(Source{Env: []string{name + "=" + sample(s)}})
		if err != nil {
			t.Errorf("%s: %v", s.key, err)
			continue
		}
		got := field(reflect.ValueOf(c), s.key)
		if text := format(got.Interface()); text != sample(s) || reflect.DeepEqual(got.Interface(), field(reflect.ValueOf(Default()), s.key).Interface()) {
			t.Errorf("%s=%s sets %s to %s", name, sample(s), s.key, text)
		}
	}
	if got, want := names["SNAKEPIT_STORE_DISK_CACHE_BYTES"], "store.disk.cache_bytes"; got != want {
		t.Errorf("SNAKEPIT_STORE_DISK_CACHE_BYTES is %q, want %q", got, want)
	}
	if len(names) < 15 {
		t.Errorf("the walk found only %d settings", len(names))
	}
}

// sample is a text that is valid for s and not its default.
func sample(s *setting) string {
	if s.enum != nil {
		return s.choices()[len(s.choices())-1]
	}
	return map[kind]string{
		kindText: "other", kindBool: "true", kindInt: "17", kindNumber: "0.25", kindDuration: "17s", kindSize: "17MiB", kindTexts: "one,two",
	}[s.kind]
}

func field(v reflect.Value, key string) reflect.Value {
	s := root
	for name := range strings.SplitSeq(key, ".") {
		s = s.child(name)
		v = v.Field(s.index)
	}
	return v
}

func TestEverySettingIsExplained(t *testing.T) {
	var walk func(*setting)
	walk = func(s *setting) {
		for _, c := range s.children {
			if c.name == "" || c.name != strings.ToLower(c.name) {
				t.Errorf("%s: the name %q is not lower case with underscores", c.key, c.name)
			}
			if !strings.HasSuffix(c.doc, ".") {
				t.Errorf("%s: the explanation %q is not a sentence", c.key, c.doc)
			}
			walk(c)
		}
	}
	walk(root)
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 10 * time.Minute: "10m",
		time.Hour + 30*time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s", 20 * time.Hour: "20h",
	} {
		got := formatDuration(d)
		if got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := time.ParseDuration(got); err != nil || back != d {
			t.Errorf("%q reads back as %v, %v, want %v", got, back, err, d)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"workers", "worker", 1}, {"kitten", "sitting", 3}, {"data", "date", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
