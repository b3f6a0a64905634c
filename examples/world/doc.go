// Package world is a cluster in one process, on loopback only: what a canary needs to move real traffic, without Kubernetes.
//
// Objects go into a client-go fake clientset, as Flagger and the routers write them. A small HTTP API serves the Ingresses, Services
// and EndpointSlices of it as the API server would, the real Skipper polls that API and proxies, and the workloads behind it are real
// HTTP servers, which can be told to fail and can be stopped without a farewell. The caller owns a [Cluster] and closes it.
package world
