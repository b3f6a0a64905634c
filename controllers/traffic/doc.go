// Package traffic is the traffic controller: it carries a cluster's weight from a store to the DNS records of every Ingress, and acknowledges it in the
// store when it is served.
//
// The weight's way: steer reads the store and lets package ramp say what is published now; publish takes the Ingresses that are due from a queue and
// hands them to the library's cluster publisher, which reads them through source, as the flags filter them; served counts who has the weight; steer
// acknowledges it. The controller owns the cluster's records, the ConfigMaps' answers to Canaries, and CurrentWeight of the store's row.
package traffic
