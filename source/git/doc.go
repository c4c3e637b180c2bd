// Package git is a store of Git repositories, read without a checkout.
//
// A [Store] keeps, for every URL in use, one bare repository of shallow
// commits. [Store.Resolve] asks a server which commit a
// [Ref] stands for; [Store.Fetch] brings that commit, of which only the objects
// that are missing travel; the [Snapshot] it returns is a [tree.Tree] read
// straight from the packs on disk. Nothing is ever written to disk but packs,
// their indexes and the list of complete commits, so no name in a repository
// can name a file on this machine.
//
// What is promised:
//
//   - A fetch that fails, is cut or is refused leaves what was there before. A
//     commit counts as present only after every object under it is.
//   - A Snapshot stays readable for as long as it is held, whatever is fetched,
//     dropped or packed anew meanwhile.
//   - Every object is checked against its ID whenever it is read from disk. What
//     does not match is an error, and the next fetch starts clean.
//   - Nobody is given a commit that a server has not named or handed out to him,
//     with the same credentials and by the same way, whoever else fetched it.
//   - Credentials go to the scheme, host and port that they were given for, and
//     nowhere else: not to another host by a redirect, not to a submodule
//     elsewhere, not into an error.
//   - No program is run. The wire protocol, pack format and transports are in
//     this process, with a bound on everything a server can make long.
//   - A revision that holds a name which a checkout on any system could take for
//     its .git directory, or for one outside of it, is refused as a whole, when
//     it is fetched.
//
// Errors are [fault.Error]s. Only an address or reference that can never work
// is a [fault.Stall]; all else may be mended by someone else (the server's
// administrator, the owner of a Secret, the next commit), so it is a
// [fault.Retry], to be tried again with backoff. Their reasons are the Reason
// constants.
//
// Left to others: which revision is wanted when, what of a tree is ignored,
// whose signature is on a commit, and whether a host may be dialled
// ([Options].Dial). Large File Storage is not resolved: such a file is its
// pointer.
package git
