package render

// Version is what results are kept under.
const Version = version

// ManagedBy is what objects say they were built with.
const ManagedBy = managedBy
