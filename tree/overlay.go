package tree

// A Mount puts a tree, or the directory Sub of it, at a place in another.
type Mount struct {
	At   string // a directory; what is missing of it is made
	Tree Tree
	Sub  string // "" is all of Tree
}
func Overlay(base Tree, mounts []Mount) Tree { return base }
