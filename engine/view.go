package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"pipeline/engine/store"
	"pipeline/internal/digest"
	"pipeline/pipelines"
	"pipeline/steps"
)

// Views are copies of artifacts for people, in
//
//	<home>/out/<campaign>/<step>/<artifact>
//
// They are made for nodes without a cell of kinds that say Show. Nothing ever
// reads them: the store has the bytes. So an outdated or deleted one is simply
// written again; one that a person has changed is kept beside as .edited.

// views brings the views of all settled nodes up to date. It returns their
// paths by "step/artifact", and what people should know.
func (e *Engine) views(plan *pipelines.Plan, nodes []NodeOutcome) (paths map[string]string, warnings []string, err error) {
	paths = make(map[string]string)
	var errs []error
	for i := range plan.Nodes {
		n, out := &plan.Nodes[i], &nodes[i]
		if !n.Kind.Show || len(n.Cell) > 0 || out.Record == nil || out.State != Hit && out.State != Done && out.State != Partial {
			continue
		}
		step := stepID(plan, n)
		for _, a := range out.Record.Artifacts {
			path := e.Store.Path("out", plan.Name, step, a.Name)
			warning, err := e.view(path, a)
			if err != nil {
				errs = append(errs, fmt.Errorf("copy %s of %s: %w", a.Name, n.Name, err))
				continue
			}
			if warning != "" {
				warnings = append(warnings, warning)
			}
			paths[step+"/"+a.Name] = path
		}
	}
	return paths, warnings, errors.Join(errs...)
}

func (e *Engine) view(path string, a steps.Artifact) (warning string, err error) {
	now, err := viewDigest(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case now == a.Digest:
		return "", nil
	case !e.Store.Has(now):
		if err := os.Rename(path, path+".edited"); err != nil {
			return "", err
		}
		warning = fmt.Sprintf("%s was changed by hand: what it held is now %s, and the artifact is restored", path, path+".edited")
	}
	return warning, e.copyOut(path, a)
}

func viewDigest(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return digest.Digest{}, err
	}
	defer f.Close()
	d, _, err := digest.OfReader(f)
	return d, err
}

func (e *Engine) copyOut(path string, a steps.Artifact) error {
	r, err := e.Store.Open(a.Digest)
	var lost *store.BlobError
	if errors.As(err, &lost) {
		return fmt.Errorf("%w; the next run makes it again", err)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".view-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
