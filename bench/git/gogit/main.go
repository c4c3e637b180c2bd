// Command gogit is the way of bench/git that reads a repository with go-git.
//
//	gogit fetch|read DIR URL
//
// It is a module of its own, so that go-git is no dependency of plumb's.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1:]); err != nil {
		log.Fatalf("gogit: %v", err)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: gogit fetch|read DIR URL")
	}
	switch step, dir, url := args[0], args[1], args[2]; step {
	case "fetch":
		return fetch(dir, url)
	case "read":
		return read(dir)
	default:
		return fmt.Errorf("unknown step %q", step)
	}
}

// fetch fetches the tip of main, and only that.
func fetch(dir, url string) error {
	repo, err := gogit.PlainOpen(dir)
	if errors.Is(err, gogit.ErrRepositoryNotExists) {
		repo, err = gogit.PlainInit(dir, true)
		if err == nil {
			_, err = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{url}})
		}
	}
	if err != nil {
		return err
	}
	return repo.Fetch(&gogit.FetchOptions{
		RefSpecs: []config.RefSpec{"+refs/heads/main:refs/heads/main"}, Depth: 1, Tags: gogit.NoTags, Force: true,
	})
}

// read reads the files of one directory of it.
func read(dir string) error {
	repo, err := gogit.PlainOpen(dir)
	if err != nil {
		return err
	}
	ref, err := repo.Reference(plumbing.NewBranchReferenceName("main"), true)
	if err != nil {
		return err
	}
	c, err := repo.CommitObject(ref.Hash())
	if err != nil {
		return err
	}
	t, err := c.Tree()
	if err != nil {
		return err
	}
	if t, err = t.Tree("d000"); err != nil {
		return err
	}
	return t.Files().ForEach(func(f *object.File) error {
		_, err := f.Contents()
		return err
	})
}
