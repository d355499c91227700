package perf

import (
	"sync"

	"pipeline/internal/digest"
)

// Campaigns returns the schema of campaign_v1: a row for each publication of
// a campaign.
func Campaigns() *Schema { return campaigns() }

var campaigns = sync.OnceValue(func() *Schema { return newSchema("campaign_v1", campaignColumns) })

var campaignColumns = []Column{
	{"campaign", Varchar, GroupCampaign, "", "Name of the campaign.", true, false},
	{"spec_path", Varchar, GroupCampaign, "", "Path of the spec, as the user gave it.", false, true},
	{"spec_sha256", Varchar, GroupCampaign, "", "Digest of the spec's bytes, bases included.", false, true},
	{"spec_yaml", Varchar, GroupCampaign, "", "The spec.", false, true},
	{"run_id", Varchar, GroupCampaign, "", "Run that published.", false, true},
	{"created_at", Timestamp, GroupCampaign, "", "Start of the first measurement, UTC.", false, false},
	{"published_at", Timestamp, GroupCampaign, "", "When the row was written, UTC.", false, true},
	{"owner", Varchar, GroupCampaign, "", "Label owner of the spec.", false, false},
	{"intent", Varchar, GroupCampaign, "", "Label intent of the spec.", false, false},
	{"labels", JSON, GroupCampaign, "", "Labels of the spec.", false, false},
	{"focus", Varchar, GroupCampaign, "", "latency, throughput or mixed.", false, false},
	{"simulated", Boolean, GroupCampaign, "", "At least one row is of a simulated endpoint.", false, false},
	{"sol_rigor", Varchar, GroupCampaign, "", "Lowest rigor over the FULL cells, roofline sweeps apart: L4, L3, L1 or none.", false, false},
	{"sol_rigor_counts", JSON, GroupCampaign, "", "Rows by rigor.", false, false},
	{"sol_complete", Boolean, GroupCampaign, "", "Each page is rendered or its omission recorded, and each FULL cell with a known ceiling stands on the Speed-of-Light page: a complete record, not a high rigor.", false, false},
	{"sol_missing", JSON, GroupCampaign, "", "Pages omitted: [{page, why, how_to_get}].", false, false},
	{"dcgm_grounded", Boolean, GroupCampaign, "", "DCGM samples stand behind each FULL row.", false, false},
	{"verdict_tier", Varchar, GroupCampaign, "", "draft or verdict.", false, false},
	{"verdict_refusals", JSON, GroupCampaign, "", "Why it is no verdict.", false, false},
	{"cells_total", Bigint, GroupCampaign, "rows", "Rows with agg = 'trial'.", false, false},
	{"cells_full", Bigint, GroupCampaign, "rows", "Of them FULL.", false, false},
	{"cells_partial", Bigint, GroupCampaign, "rows", "Of them PARTIAL.", false, false},
	{"cells_failed", Bigint, GroupCampaign, "rows", "Of them FAILED.", false, false},
	{"cells_missing", Bigint, GroupCampaign, "rows", "Of them MISSING.", false, false},
	{"cells_plot_ready", Bigint, GroupCampaign, "rows", "Of them with plot_ready.", false, false},
	{"gaps", List, GroupCampaign, "", "What is missing, cell by cell and page by page.", false, false},
	{"models", List, GroupCampaign, "", "Models.", false, false},
	{"hardware", List, GroupCampaign, "", "Hardware.", false, false},
	{"quants", List, GroupCampaign, "", "Number formats.", false, false},
	{"engines", List, GroupCampaign, "", "Serving engines.", false, false},
	{"headline", JSON, GroupCampaign, "", "The best numbers, each with its own exact shape.", false, false},
	{"baseline_campaign", Varchar, GroupCampaign, "", "Campaign it was compared with.", false, false},
	{"next_lever", JSON, GroupCampaign, "", "What to try next.", false, false},
	{"frontier", JSON, GroupCampaign, "", "Ranked levers.", false, false},
	{"report_uri", Varchar, GroupCampaign, "", "Where the report lies.", false, false},
	{"report_sha256", Varchar, GroupCampaign, "", "Digest of report.html.", false, false},
	{"report_status", JSON, GroupCampaign, "", "report_status.json.", false, false},
	{"atlas_rows", Bigint, GroupCampaign, "rows", "Rows in atlas_v1.", false, false},
	{"atlas_sha256", Varchar, GroupCampaign, "", "Digest of the rows in atlas_v1.", false, false},
	{"ceilings_digest", Varchar, GroupCampaign, "", "Digest of the ceilings used.", false, false},
	{"tool_version", Varchar, GroupCampaign, "", "Version of pipeline.", false, true},
	{"warnings", List, GroupCampaign, "", "Doubts of the rows, each once.", false, false},
	{"strict", Boolean, GroupCampaign, "", "Published with strict.", false, true},
	{"lineage", JSON, GroupCampaign, "", "Digests of the artifacts behind the publication.", false, false},
	{"extra_json", JSON, GroupCampaign, "", "What has no column: absent (why a column is NULL).", false, false},
}

// A Revision is one published version of a campaign's rows in one table. Its
// file never changes. Publishing other rows adds a revision that supersedes
// it.
type Revision struct {
	Table  string        `json:"table"`
	Path   string        `json:"path"` // relative to the lake, with forward slashes
	Digest digest.Digest `json:"digest"`
	Rows   int           `json:"rows"`
}
