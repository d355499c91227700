package report

import "slices"

const solTitle = "Speed-of-Light summary"

// pages lists the design's pages. What cannot be shown says why, and what
// would bring it.
func (v *view) pages() []Page {
	notYet := "this version of pipeline has no step for it; the rows keep what the page needs besides"
	omit := func(id, title, why, how string) Page {
		return Page{ID: id, Title: title, Status: Omitted, Why: why, HowToGet: how}
	}
	show := func(id, title string) Page { return Page{ID: id, Title: title, Status: Rendered} }
	pages := []Page{show("1", "Cover and verdict")}

	if len(v.loadPoints()) > 0 {
		pages = append(pages, show("2", "Latency and throughput against load"))
	} else {
		pages = append(pages, omit("2", "Latency and throughput against load",
			"no cell has a median TTFT, a request throughput and a load", "measure cells that end FULL; the table of cells says why each did not"))
	}
	if len(v.paretoPoints()) > 0 {
		pages = append(pages, show("3", "Pareto"))
	} else {
		pages = append(pages, omit("3", "Pareto",
			"no cell has both tok/s/GPU and tok/s/user", "measure cells that end FULL with 2 output tokens or more, and let the setting tell gpu_count, or tp, pp and dp"))
	}
	var why string
	if v.sol, why = v.pageSoL(); v.sol != nil {
		page := show("4", solTitle)
		if v.sol.NoProfile != "" {
			page.Why, page.HowToGet = noProfile, getProfile
		}
		pages = append(pages, page)
	} else {
		pages = append(pages, omit("4", solTitle, why, "let the setting name the hardware (hardware: a key of configs/sol-ceilings.yaml) and the model's shape (model.shape), or give aggregate ceilings and model_config of your own"))
	}
	pages = append(pages,
		show("5", "Cells"),
		omit("6", "DCGM", v.noDCGM(), notYet),
		omit("6b", "DCGM against Speed-of-Light", v.noDCGM(), notYet),
		omit("7", "Roofline sweep", "no roofline sweep was imported", notYet),
	)
	if v.configs() < 2 {
		pages = append(pages, omit("8", "Comparison and winner by concurrency", "there is one configuration: nothing to compare it with", "add a value to the axis config of the spec"))
	} else {
		pages = append(pages, omit("8", "Comparison and winner by concurrency", "configurations stand side by side on pages 2, 3 and 5, but no winner was tested for significance", notYet))
	}
	if v.frontier, why = v.pageFrontier(); v.frontier != nil {
		pages = append(pages, show("9", "Next levers"))
	} else {
		pages = append(pages, omit("9", "Next levers", why, "run aggregate again: this version writes it"))
	}
	return append(pages, show("completeness", "Completeness"))
}

func (v *view) noDCGM() string {
	if v.status.Simulated {
		return "no DCGM samples stand behind these rows; a simulated endpoint has no GPU"
	}
	return "no DCGM samples stand behind these rows"
}

func (v *view) configs() int {
	var names []string
	for _, r := range v.rows {
		names = append(names, r.Text("config"))
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}
