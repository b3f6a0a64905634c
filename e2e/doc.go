// Package e2e has the tests with components that nobody here wrote: Flagger with our providers compiled in, kube-apiserver with etcd and the
// real controllers, Skipper, and external-dns, against the strict Route 53 of internal/route53emulator. `make e2e` builds what they need.
//
// Each test has a namespace, a hosted zone, a Flagger and, for each cluster, a Skipper of its own; the clusters are shared. world_test.go starts
// the clusters, app_test.go is an application with its Canary in them, and the other files are what happens to it.
package e2e
