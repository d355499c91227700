package lake

import (
	"context"
	"database/sql"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"time"

	_ "github.com/marcboeker/go-duckdb/v2" // the driver "duckdb"; its successor is github.com/duckdb/duckdb-go/v2
)

// A session is an in-memory DuckDB that one caller owns. All statements go to
// one connection, so that its settings and views hold.
type session struct {
	db   *sql.DB
	conn *sql.Conn
}

// openSession starts DuckDB, without extensions from elsewhere and with one
// thread, so that what it writes is always in one order.
func openSession(ctx context.Context, threads int) (*session, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	s := &session{db, conn}
	for _, set := range []string{
		"SET autoinstall_known_extensions=false",
		"SET autoload_known_extensions=false",
		"SET preserve_insertion_order=true",
		"SET TimeZone='UTC'",
		fmt.Sprintf("SET threads=%d", threads),
	} {
		if err := s.exec(ctx, set); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// confine lets statements read files below dir, an absolute path, and nothing else.
func (s *session) confine(ctx context.Context, dir string) error {
	for _, set := range []string{
		"SET allowed_directories=[" + literal(dir+string(filepath.Separator)) + "]",
		"SET enable_external_access=false",
		"SET lock_configuration=true",
	} {
		if err := s.exec(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) exec(ctx context.Context, statement string, args ...any) error {
	_, err := s.conn.ExecContext(ctx, statement, args...)
	return err
}

// close lets go of a memory-only database: there is nothing to lose.
func (s *session) close() {
	s.conn.Close()
	s.db.Close()
}

// table runs a query and returns what it gives, in plain Go types.
func (s *session) table(ctx context.Context, query string, args ...any) (*Table, error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	t := &Table{Rows: [][]any{}}
	for _, c := range types {
		t.Columns = append(t.Columns, TableColumn{Name: c.Name(), Type: c.DatabaseTypeName()})
	}
	for rows.Next() {
		values, into := make([]any, len(types)), make([]any, len(types))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, v := range values {
			values[i] = plain(v)
		}
		t.Rows = append(t.Rows, values)
	}
	return t, rows.Err()
}

// plain turns a value of the driver into one of the types that Table promises.
func plain(v any) any {
	switch x := v.(type) {
	case nil, bool, string, int64, float64:
		return x
	case int:
		return int64(x)
	case int8:
		return int64(x)
	case int16:
		return int64(x)
	case int32:
		return int64(x)
	case uint8:
		return int64(x)
	case uint16:
		return int64(x)
	case uint32:
		return int64(x)
	case float32:
		return float64(x)
	case time.Time:
		return x.UTC()
	case []byte:
		return string(x)
	case *big.Int: // HUGEINT, the type of sum over BIGINT
		if x.IsInt64() {
			return x.Int64()
		}
		return x.String()
	case interface{ Float64() float64 }: // DECIMAL
		return x.Float64()
	case []any:
		list := slices.Clone(x)
		for i, e := range list {
			list[i] = plain(e)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = plain(e)
		}
		return m
	}
	return fmt.Sprint(v)
}
