package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
)

// A table is rows under columns, for people.
type table struct {
	columns []column
	rows    []row
}

type column struct {
	name string
	wide bool // shown only with -o wide
}

type row struct {
	cells []string
	// color of the whole line; nil for none.
	color func(...any) string
}

func cols(names ...string) []column {
	out := make([]column, len(names))
	for i, n := range names {
		out[i].name, out[i].wide = strings.CutPrefix(n, "+")
	}
	return out
}

// without is t less a column.
func (t table) without(column int) table {
	t.columns = slices.Delete(slices.Clone(t.columns), column, column+1)
	rows := make([]row, len(t.rows))
	for i, r := range t.rows {
		rows[i] = row{cells: slices.Delete(slices.Clone(r.cells), column, column+1), color: r.color}
	}
	t.rows = rows
	return t
}

// print prints t by the printer that kubectl uses. Cells may hold anything.
func (a *app) table(t table, wide bool) error {
	var mt metav1.Table
	for _, c := range t.columns {
		d := metav1.TableColumnDefinition{Name: c.name, Type: "string"}
		if c.wide {
			d.Priority = 1
		}
		mt.ColumnDefinitions = append(mt.ColumnDefinitions, d)
	}
	for _, r := range t.rows {
		var tr metav1.TableRow
		for _, c := range r.cells {
			tr.Cells = append(tr.Cells, clean(c))
		}
		mt.Rows = append(mt.Rows, tr)
	}
	var b bytes.Buffer
	if err := printers.NewTablePrinter(printers.PrintOptions{Wide: wide}).PrintObj(&mt, &b); err != nil {
		return fmt.Errorf("print a table: %w", err)
	}
	for i, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		line = strings.TrimRight(line, " ")
		if i > 0 && i <= len(t.rows) && t.rows[i-1].color != nil {
			line = t.rows[i-1].color(line)
		}
		a.println(line)
	}
	return nil
}
