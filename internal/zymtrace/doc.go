// Package zymtrace reads GPU time by kernel or category, as zymtrace and tools
// like it export it, and asks a database for it.
//
// Three forms of text are read. A table (CSV or TSV with a header) has a column
// for the name of a kernel or category and one for samples or nanoseconds; the
// report cuda_gpu_kern_sum of nsys is such a table. Folded stacks have a line
// a stack, frames joined by semicolons from the root to the leaf, and a count.
//
// The profiler's backend takes in samples with a delay of seconds to minutes.
// So an answer that is empty right after the window is no absence: Await asks
// again until the answer has samples and has stopped growing, for as long as it
// is told to, and then says what it has or that there is a gap.
//
// The schema of zymtrace's database is not public. A Query therefore runs the
// SQL that its user wrote for the database at hand, over ClickHouse's HTTP
// interface.
package zymtrace
