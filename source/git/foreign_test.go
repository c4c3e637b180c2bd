package git_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/fault"
	"plumb.dev/plumb/internal/gittest"
	"plumb.dev/plumb/source/git"
)

// The words that this package decides by are said by the versions of
// golang.org/x/crypto and of git that it is built and tested with.
func TestWordsOfOthersAreWhatTheySay(t *testing.T) {
	server := gittest.New(t)
	repo := server.Repo(t, "r")
	repo.Commit(t, map[string]string{"a": "1"}, "one")
	signer, pem := gittest.NewKey(t, "")
	_, other := gittest.NewKey(t, "")
	over := server.SSH(t, gittest.SSHOptions{Accept: signer.PublicKey()})
	s := newStore(t, git.Options{})

	t.Run("a login that is refused", func(t *testing.T) {
		_, err := s.Resolve(t.Context(), git.Remote{URL: over.URL(repo), Auth: git.Auth{Identity: other, KnownHosts: over.KnownHosts()}}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonAuthFailed)
	})
	t.Run("a server without the kind of key that is known", func(t *testing.T) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.NewPublicKey(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		line := knownhosts.Line([]string{over.Addr()}, key) + "\n" // the server has an Ed25519 key
		_, err = s.Resolve(t.Context(), git.Remote{URL: over.URL(repo), Auth: git.Auth{Identity: pem, KnownHosts: []byte(line)}}, onMain)
		f := wantFault(t, err, fault.Retry, git.ReasonHostKeyMismatch)
		if !strings.Contains(f.Error(), "none of the kinds of key") {
			t.Errorf("error is %v", f)
		}
	})
	t.Run("no repository over SSH", func(t *testing.T) {
		url := strings.Replace(over.URL(repo), "/r.git", "/none.git", 1)
		_, err := s.Resolve(t.Context(), git.Remote{URL: url, Auth: git.Auth{Identity: pem, KnownHosts: over.KnownHosts()}}, onMain)
		wantFault(t, err, fault.Retry, git.ReasonNotFound)
	})
	t.Run("a commit that is not there", func(t *testing.T) {
		for name, r := range map[string]git.Remote{
			"http": {URL: repo.URL()},
			"ssh":  {URL: over.URL(repo), Auth: git.Auth{Identity: pem, KnownHosts: over.KnownHosts()}},
		} {
			_, err := try(t, s, r, git.Ref{Commit: strings.Repeat("1", 40)})
			if f := fault.Of(err); err == nil || f.Reason != git.ReasonReferenceNotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("what hosts say", func(t *testing.T) {
		for words, reason := range map[string]string{
			"Repository not found.": git.ReasonNotFound,
			"ERROR: The project you were looking for could not be found or you don't have permission to view it.": git.ReasonNotFound,
			"Access denied": git.ReasonAuthFailed,
			"ERROR: Permission to team/app.git denied to somebody.": git.ReasonAuthFailed,
			"the accessories are out of stock":                      git.ReasonServerError,
			"internal error: table refs does not exist":             git.ReasonServerError,
		} {
			repo.Server().Fail(gittest.Respond("application/x-git-upload-pack-advertisement", "001e# service=git-upload-pack\n0000"+pkt("ERR "+words)))
			_, err := s.Resolve(t.Context(), git.Remote{URL: repo.URL()}, onMain)
			wantFault(t, err, fault.Retry, reason)
		}
	})
}
