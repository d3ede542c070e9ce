package config_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/snakepit-go/snakepit/config"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "17": 17, "17B": 17, "64KiB": 64 * config.KiB, "256MiB": 256 * config.MiB, "1GiB": config.GiB,
		"2 TiB": 2 * config.TiB, "1mib": config.MiB, "5MB": 5_000_000, " 1kb ": 1000, "7EiB": -1, "1.5GiB": -1,
		"": -1, "MiB": -1, "-1": -1, "12 monkeys": -1, "9223372036854775807": 1<<63 - 1, "9223372036854775808": -1,
		"8388608TiB": -1, "8388607TiB": 8388607 * config.TiB,
	} {
		got, err := config.ParseSize(text)
		if (err != nil) != (want < 0) || (err == nil && got != want) {
			t.Errorf("ParseSize(%q) = %d, %v, want %d (-1: an error)", text, got, err, want)
		}
	}
}

func TestSizeTextIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := config.Size(rapid.Int64Min(0).Draw(t, "size"))
		if unit := rapid.SampledFrom([]config.Size{1, config.KiB, config.MiB, config.GiB, config.TiB}).Draw(t, "unit"); want < 1<<20 {
			want *= unit
		}
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got config.Size
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%d is written %q and read as %d, %v", want, text, got, err)
		}
	})
}
