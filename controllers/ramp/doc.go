// Package ramp moves the weight of a cluster in steps, each of which waits for DNS and for gates. A store.Row and what is known of DNS go in; the weight
// to publish ([Target]), whether the gates are to be asked ([Due]) and the row to store ([Next]) come out. All state of a move is in the row, so that the
// next controller goes on with it. Nothing here owns a cluster or a cloud object: [Query], [HealthCheck] and [Ready] only read.
package ramp
