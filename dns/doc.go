// Package dns plans the records of one cluster and publishes them.
//
// Into [Plan] go a host, where its load balancer is, the cluster's weight and the route weights of a canary; out come record sets
// on two levels: the host's record, with the cluster's name as its set identifier, and below it, while a canary is split in DNS,
// the inner weighted set with the members primary and canary. Planning is pure.
//
// The [Publisher] is the one writer of a cluster's records. It reads Ingresses and the Canaries' ConfigMaps, moves each host one
// step at a time so that no resolver meets a name that is not there yet or not there any more, hands the records to a [Backend],
// and answers in the ConfigMaps how far they are.
package dns
