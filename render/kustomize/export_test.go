package kustomize

// ManagedBy is what objects say they were built with.
const ManagedBy = managedBy
