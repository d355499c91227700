package perf

import (
	"fmt"
	"slices"
)

// A ColumnType is the type of a column, as DuckDB writes it.
type ColumnType string

// The types that a column of the lake may have. Timestamps are UTC, to the
// microsecond. JSON is text that holds one JSON value.
const (
	Varchar   ColumnType = "VARCHAR"
	Bigint    ColumnType = "BIGINT"
	Double    ColumnType = "DOUBLE"
	Boolean   ColumnType = "BOOLEAN"
	Timestamp ColumnType = "TIMESTAMP"
	List      ColumnType = "VARCHAR[]"
	JSON      ColumnType = "JSON"
)

// A Group is what a column is about.
type Group string

// The groups of columns. From GroupIdentity to GroupPlace they are the fields
// of a Setting.
const (
	GroupKey         Group = "key"
	GroupIdentity    Group = "identity"
	GroupParallelism Group = "parallelism"
	GroupServing     Group = "serving"
	GroupWorkload    Group = "workload"
	GroupRegime      Group = "regime"
	GroupStack       Group = "stack"
	GroupPlace       Group = "place"
	GroupTime        Group = "time"
	GroupMetrics     Group = "metrics" // over the whole run, ramp and drain included
	GroupSteady      Group = "steady"  // over the steady-state window
	GroupTrials      Group = "trials"  // spread over the trials of one setting, on rows with agg = 'mean'
	GroupClient      Group = "client"  // health of the load generator
	GroupServer      Group = "server"  // the server's own counters
	GroupSoL         Group = "sol"
	GroupDCGM        Group = "dcgm"
	GroupProvenance  Group = "provenance"
	GroupCampaign    Group = "campaign"
)

// IsSetting reports whether columns of the group are fields of a Setting.
func (g Group) IsSetting() bool {
	switch g {
	case GroupIdentity, GroupParallelism, GroupServing, GroupWorkload, GroupRegime, GroupStack, GroupPlace:
		return true
	}
	return false
}

// A Column is one column of a table of the lake.
type Column struct {
	Name  string     `json:"name"`
	Type  ColumnType `json:"type"`
	Group Group      `json:"group"`
	Unit  string     `json:"unit,omitempty"` // "" is no unit: a name, a count, a share
	Doc   string     `json:"doc"`
	// Key columns order the rows of a file.
	Key bool `json:"key,omitempty"`
	// Volatile columns say when and by whom a row was written. They are in no
	// digest of rows: what differs only there is the same content.
	Volatile bool `json:"volatile,omitempty"`
}

// A Schema is the list of columns of a table. A schema once released is only
// ever added to: a change of meaning is a new table, atlas_v2.
type Schema struct {
	Name    string
	Columns []Column
	index   map[string]int
}

func newSchema(name string, columns []Column) *Schema {
	s := &Schema{Name: name, Columns: columns, index: make(map[string]int, len(columns))}
	for i, c := range columns {
		if _, twice := s.index[c.Name]; twice {
			panic(fmt.Sprintf("perf: %s lists column %s twice", name, c.Name))
		}
		s.index[c.Name] = i
	}
	return s
}

// Column returns the column of that name.
func (s *Schema) Column(name string) (Column, bool) {
	i, ok := s.index[name]
	if !ok {
		return Column{}, false
	}
	return s.Columns[i], true
}

// Keys returns the names of the key columns, in their order.
func (s *Schema) Keys() []string {
	var names []string
	for _, c := range s.Columns {
		if c.Key {
			names = append(names, c.Name)
		}
	}
	return names
}

// InGroup returns the names of the columns of the groups, in their order.
func (s *Schema) InGroup(groups ...Group) []string {
	var names []string
	for _, c := range s.Columns {
		if slices.Contains(groups, c.Group) {
			names = append(names, c.Name)
		}
	}
	return names
}

// Schemas returns the tables of the lake by name.
func Schemas() []*Schema { return []*Schema{Atlas(), Campaigns()} }
