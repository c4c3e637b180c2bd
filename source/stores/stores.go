// Package stores is what the sources of all kinds keep on disk, and share.
package stores

import (
	"errors"
	"path/filepath"

	"plumb.dev/plumb/source"
	"plumb.dev/plumb/source/archive"
	"plumb.dev/plumb/source/bucket"
	"plumb.dev/plumb/source/git"
	"plumb.dev/plumb/source/helm"
	"plumb.dev/plumb/source/oci"
)

// Stores are those of one process.
type Stores struct {
	Git        *git.Store
	Archives   *archive.Store
	Charts     *helm.Store  // which keeps them in Archives
	Registries *oci.Clients // what is fetched from them is kept in Archives
	Buckets    *bucket.Clients
}

// Open opens those in a directory, which is made if it isn't there. It fails if
// somebody else has them open.
func Open(dir string) (*Stores, error) {
	repositories, err := git.NewStore(filepath.Join(dir, "git"), git.Options{})
	if err != nil {
		return nil, err
	}
	files, err := archive.Open(filepath.Join(dir, "archives"), archive.Limits{})
	if err != nil {
		return nil, errors.Join(err, repositories.Close())
	}
	return &Stores{Git: repositories, Archives: files, Charts: helm.NewStore(files, helm.Options{}), Registries: &oci.Clients{}, Buckets: &bucket.Clients{}}, nil
}

// All are those that hold something on disk.
func (s *Stores) All() []source.Store { return []source.Store{s.Git, s.Archives} }

// Close closes all.
func (s *Stores) Close() error {
	s.Charts.Close()
	return errors.Join(s.Git.Close(), s.Archives.Close())
}
