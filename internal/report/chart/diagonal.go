package chart

import "fmt"

// diagonal draws the line on which X and Y are equal.
func (d *canvas) diagonal() {
	if v := d.c.Diagonal; v > 0 {
		fmt.Fprintf(d, `<path class="diagonal" d="M%s %sL%s %s"/>`, px(d.x.at(0)), px(d.y.at(0)), px(d.x.at(v)), px(d.y.at(v)))
	}
}
