package realparts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Scrape is a target that Prometheus scrapes.
type Scrape struct {
	Job      string
	Address  string // host:port
	Path     string // /metrics
	Interval time.Duration
	// HonorLabels keeps the labels of the target where they clash with those of
	// Prometheus; else they become exported_….
	HonorLabels bool
}

const installPrometheus = "apt-get install -y --no-install-recommends prometheus (or tools/deps.sh)"

// Prometheus starts Debian's Prometheus over the data in a folder, which may be
// empty, and returns its URL. Old blocks are kept.
func Prometheus(t testing.TB, data string, scrapes ...Scrape) (url string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n")
	if len(scrapes) == 0 {
		b.WriteString("  []\n")
	}
	for _, s := range scrapes {
		fmt.Fprintf(&b, "  - {job_name: %q, metrics_path: %q, scrape_interval: %s, scrape_timeout: %s, honor_labels: %v, static_configs: [{targets: [%q]}]}\n",
			s.Job, s.Path, s.Interval, min(s.Interval, time.Second), s.HonorLabels, s.Address)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return Start(t, Process{
		Name: "prometheus",
		Args: func(port int) []string {
			return []string{"prometheus", "--config.file=" + config, "--storage.tsdb.path=" + data, "--storage.tsdb.retention.time=100y",
				fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port), "--log.level=warn"}
		},
		Ready:   "/-/ready",
		Install: installPrometheus,
	})
}

// Backfill makes blocks of Prometheus of samples in the OpenMetrics format,
// which must end with the line # EOF, and returns their folder.
func Backfill(t testing.TB, openMetrics string) (data string) {
	t.Helper()
	skipShort(t, "promtool")
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Fatalf("promtool is missing: %s", installPrometheus)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "samples.om")
	if err := os.WriteFile(file, []byte(openMetrics), 0o644); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(dir, "data")
	if out, err := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "openmetrics", file, data).CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s", err, out)
	}
	return data
}
