package sol

import (
	"encoding/json"
	"fmt"

	"pipeline/configs"
	"pipeline/internal/digest"
)

// BuiltinDigests names what ships with the program: the ceilings, and the
// shapes of models. What is made with them is made again with others.
func BuiltinDigests() (ceilings, models string) {
	var list []byte
	for _, name := range configs.Models() {
		m, err := configs.FindModel(name)
		if err != nil {
			panic(err) // the files are part of the build
		}
		list = fmt.Appendf(list, "%s %s %s\n", name, digest.Of(m.Config), digest.Of(m.QuantConfig))
	}
	return digest.Of(configs.Ceilings()).String(), digest.Of(list).String()
}

// TimeScale is what a setting says of the clock of a simulation: "" if
// nothing. Floors are of real time, so that they stand beside a scale of 1
// only.
func TimeScale(setting map[string]string) string {
	var args map[string]any
	if json.Unmarshal([]byte(setting["serve_args"]), &args) != nil {
		return ""
	}
	scale, _ := args["sim_time_scale"].(string)
	return scale
}
