package zymtrace

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipeline/internal/profile"
	"pipeline/internal/realparts"
)

// A real ClickHouse takes the query, with the user's SQL and the window in it.
func TestClickHouse(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	users := write("users.xml", `<yandex><profiles><default/></profiles><quotas><default/></quotas><users>
<default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default>
<asker><password>word</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></asker></users></yandex>`)
	url := realparts.Start(t, realparts.Process{
		Name: "clickhouse", Ready: "/ping", Install: "tools/deps.sh (Debian: apt-get install clickhouse-server)",
		Args: func(port int) []string {
			return []string{"clickhouse-server", "--config-file=" + write("config.xml", fmt.Sprintf(`<yandex><logger><level>warning</level><console>1</console></logger>
<http_port>%d</http_port><listen_host>127.0.0.1</listen_host><path>%s/data/</path><tmp_path>%s/tmp/</tmp_path><users_config>%s</users_config>
<default_profile>default</default_profile><default_database>default</default_database><mark_cache_size>5368709120</mark_cache_size></yandex>`, port, dir, dir, users))}
		},
	})
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // ClickHouse ends after its last connection
	do := func(sql string) {
		resp, err := http.Post(url, "text/plain", strings.NewReader(sql))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s: %s", sql, text)
		}
	}
	do("CREATE TABLE events (timestamp DateTime, kernel String, gpu_uuid String) ENGINE = Memory")
	q := Query{
		URL: url, User: "asker", Password: "word", From: time.Unix(1_795_342_500, 0), To: time.Unix(1_795_342_560, 0),
		SQL: "SELECT kernel, gpu_uuid, count() AS samples FROM events WHERE toUInt32(timestamp) >= {from_unix} AND toUInt32(timestamp) < {to_unix} GROUP BY kernel, gpu_uuid FORMAT TSVWithNames",
	}
	// Empty right after the window; the samples come in while Await asks.
	asked := 0
	a, err := Await(t.Context(), func(ctx context.Context) ([]byte, error) {
		if asked++; asked == 2 {
			do("INSERT INTO events VALUES (1795342499, 'before', 'GPU-a'), (1795342500, 'fused_moe', 'GPU-a'), (1795342559, 'fused_moe', 'GPU-a'), (1795342530, 'nccl', 'GPU-b'), (1795342560, 'after', 'GPU-a')")
		}
		return q.Ask(ctx)
	}, classifier(t), Patience{Limit: time.Minute, Poll: 10 * time.Millisecond})
	if err != nil || !a.Settled || a.Asked != 3 {
		t.Fatalf("asked %d times, settled %t: %v", a.Asked, a.Settled, err)
	}
	g, err := profile.NewGPUTime("clickhouse", a.Reading.Unit, a.Text, a.Reading.Entries, classifier(t))
	if err != nil {
		t.Fatal(err)
	}
	sameShares(t, "categories", g.Categories, map[string]float64{"MoE": 2, "NCCL": 1})
	sameShares(t, "GPUs", g.GPUs, map[string]float64{"GPU-a": 2, "GPU-b": 1})

	q.Password = "wrong"
	if _, err := q.Ask(t.Context()); err == nil || strings.Contains(err.Error(), "wrong\"") {
		t.Errorf("a wrong password gives %v", err)
	}
	q.Password, q.SQL = "word", strings.Replace(q.SQL, "events", "no_such", 1)
	if _, err := q.Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("an unknown table gives %v", err)
	}
}
