// Package externaldns is the [dns.Backend] that writes a cluster's records as DNSEndpoint objects, which external-dns publishes.
//
// Into Publish go the records of an Ingress; out comes one DNSEndpoint of the Ingress' namespace and name, owned by it. What external-dns
// then does cannot be read from Kubernetes: status.observedGeneration is written when the object is read, also when no record of it was
// published. So the object carries its own evidence.
//
// # The convergence marker
//
// For each name N among the records there is a marker, a CNAME without a weight:
//
//	<cluster>._penstock.<N>  CNAME  <hash>.penstock.invalid   TTL 5
//
// Its hash is that of all records of N, and of the marker before it, so that it is another one after every change, also after one that was
// taken back. The first one's is that of the time. The label ownedRecord makes external-dns put the marker and the records of N into one change batch, which Route 53 applies
// completely or not at all. N is in sync when every authoritative server of its zone answered with the current hash, in all checks
// over [Options.Window].
//
// A marker says that a batch was applied. It lies when external-dns leaves out a part, which it does when it runs with
// --policy=upsert-only: it then deletes nothing. So checks also ask for what should have gone: markers of names without records, and
// addresses and hostnames that a name no longer has. The annotation penstock.dev/deleted remembers them. When nothing is published any more, they
// are all the evidence there is.
//
// The files follow a call: backend.go (what is asked for), endpoint.go (pure: records as endpoints, and markers), object.go (the
// DNSEndpoint), sync.go (how far it is), authority.go (who is asked, and what is answered).
package externaldns
