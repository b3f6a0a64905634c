// Command scale measures the traffic controller on the real kube-apiserver: from a change of the cluster's weight to the last DNSEndpoint, beside a bare
// client that writes the same objects in parallel, which is what the API server can do; and what a start and an idle hour cost. With the store
// dynamodb a change includes the time until the controller looks there again, which is 20 s at most. `make bench-scale` runs it and prints the tables of
// docs/performance.md.
package main
