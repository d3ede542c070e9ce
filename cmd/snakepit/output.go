package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
)

// outputVariable names the default of --output in the environment.
const outputVariable = "SNAKEPIT_OUTPUT"

// output is how a command prints what it has to say: for people or for programs.
type output string

const (
	outputTable output = "table"
	outputText  output = "text" // for commands whose answer is data, no table
	outputJSON  output = "json"
)

func (o *output) register(flags *pflag.FlagSet, e env) {
	*o = outputTable
	if text := e.lookup(outputVariable); text != "" {
		*o = output(text) // checked when it is used, for a wrong one must not spoil other commands
	}
	flags.Var(o, "output", "form of the answer: table or json ("+outputVariable+")")
}

// registerText is register for a command that prints data as it is. The environment does not apply: what scripts do with
// the data is not to depend on it.
func (o *output) registerText(flags *pflag.FlagSet, text, json string) {
	*o = outputText
	flags.Var(o, "output", "form of the answer: text ("+text+") or json ("+json+")")
}

func (o *output) String() string { return string(*o) }

// Set checks and takes the value of the flag.
func (o *output) Set(text string) error {
	*o = output(text)
	return o.check()
}

// Type is what stands behind the flag in help texts.
func (o *output) Type() string { return "FORM" }

func (o *output) check() error {
	if *o != outputTable && *o != outputText && *o != outputJSON {
		return fmt.Errorf("%q is not a form of output: use table (or text) or json", *o)
	}
	return nil
}

// write prints v as JSON, or the table that fill makes of it.
func (o *output) write(w io.Writer, v any, fill func(*table)) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	if *o == outputJSON {
		return writeJSON(w, v)
	}
	t := &table{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fill(t)
	return t.w.Flush()
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table aligns columns. Cells are kept on their line: what would break out of it is written as an escape.
type table struct{ w *tabwriter.Writer }

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = plain(fmt.Sprint(cell))
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(texts, "\t"), "\t"))
}

// line writes a line of its own, beside all columns.
func (t *table) line(text string) { fmt.Fprintln(t.w, plain(text)) }

// plain replaces control characters, which could forge lines or drive the terminal; texts of sessions come from anyone.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

// dash stands for what there is none of, so that columns stay columns.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// span writes a duration short enough for a column: 3d4h, 2h5m, 40s.
func span(d time.Duration) string {
	for _, u := range []struct {
		unit, rest         time.Duration
		unitName, restName string
	}{{24 * time.Hour, time.Hour, "d", "h"}, {time.Hour, time.Minute, "h", "m"}, {time.Minute, time.Second, "m", "s"}} {
		if d >= u.unit {
			text := fmt.Sprintf("%d%s", d/u.unit, u.unitName)
			if rest := d % u.unit / u.rest; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, u.restName)
			}
			return text
		}
	}
	return d.Truncate(time.Second / 10).String()
}

// size writes a number of bytes for a column.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
