package report

import "slices"

const solTitle = "Speed-of-Light summary"

// pages lists the design's pages. What cannot be shown says why, and what
// would bring it.
func (v *view) pages() []Page {
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
	)
	pages = append(pages, v.dcgmPages()...)
	if v.roofline != nil {
		pages = append(pages, show("7", "Roofline sweep"))
	} else {
		pages = append(pages, omit("7", "Roofline sweep", v.noRoofline, getRoofline))
	}
	pages = append(pages, v.page8Status())
	if v.frontier, why = v.pageFrontier(); v.frontier != nil {
		pages = append(pages, show("9", "Next levers"))
	} else {
		pages = append(pages, omit("9", "Next levers", why, "run aggregate again: this version writes it"))
	}
	return append(pages, show("completeness", "Completeness"))
}

func (v *view) configs() int {
	var names []string
	for _, r := range withoutSwept(v.rows) {
		names = append(names, r.Text("config"))
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}
