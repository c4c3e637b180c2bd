package render

// Version is what results are kept under.
const Version = version
