package dns

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// RecordType is the type of a record set.
type RecordType string

// The record types that Penstock writes.
const (
	A     RecordType = "A"
	AAAA  RecordType = "AAAA"
	CNAME RecordType = "CNAME"
	TXT   RecordType = "TXT"
)

// Record is one record set as a cluster wants it, in the vocabulary of external-dns' Endpoint: a CNAME whose
// target is the hostname of an AWS load balancer stands for the A and AAAA aliases that external-dns, and our
// Route 53 backend, make of it. It is comparable by [Record.Equal].
type Record struct {
	// Name is fully qualified, in lower case, without a trailing dot. A "*" may only be the first label.
	Name string
	Type RecordType
	// SetIdentifier tells apart the members of a weighted set; empty means a simple record, which has no weight.
	SetIdentifier string
	// Weight is 0 to 255, relative to the other members of the set.
	// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html
	Weight int
	// Targets are IP addresses (A, AAAA) or one hostname (CNAME, aliases). A weighted record has exactly one.
	Targets []string
	// TTL zero leaves it to the backend: 300 s, or the target's own for an alias.
	TTL time.Duration
	// Alias makes an A or AAAA record an alias of Targets[0], a name in the same hosted zone.
	Alias bool
	// EvaluateTargetHealth lets an alias count as unhealthy when what it points at is.
	EvaluateTargetHealth bool
	// HealthCheckID is the Route 53 health check of this record; empty means none, that is always healthy.
	HealthCheckID string
}

// Publication is all that a cluster publishes for one Ingress. The Ingress owns it: without the Ingress, or with
// no Records, nothing is left in DNS.
type Publication struct {
	// Ingress names the Ingress, and so the DNSEndpoint of the externaldns backend.
	Ingress types.NamespacedName
	// IngressUID is what the owner reference of a generated object points at.
	IngressUID types.UID
	// Cluster is the set identifier of the cluster's records, and part of the ownership of what is published.
	Cluster string
	Records []Record
	// Takes names Ingresses whose records of the same names this Publication takes over: in one step, where a backend can.
	Takes []types.NamespacedName
	// Prior is the Status that the caller remembers for these very Records, so that a restart need not prove anew
	// what had been proved. Its zero value says that nothing is remembered.
	Prior Status
	// Prove asks for evidence that the records are in sync even when there is nothing to write and nothing is
	// remembered; without it a backend may take records that it finds as they should be for in sync.
	Prove bool
}

// Status is how far a Publication is on its way to resolvers.
type Status struct {
	// Change identifies what was submitted: the plan's hash (externaldns) or Route 53's change id. A caller keeps it
	// and hands it back as Publication.Prior.
	Change string
	// InSync is true when every authoritative server answers with the records.
	InSync bool
	// InSyncSince is when that was first known; zero while InSync is false.
	InSyncSince time.Time
	// Assumed is true when InSync was not seen but taken for granted after a configured time.
	Assumed bool
	// Reason says, for people, what is being waited for; empty when InSync.
	Reason string
	// Warning says, for people, what stands in DNS as asked for and may still be wrong, such as a name whose weights are all zero.
	Warning string
	// Unwritten is true when the records could not be written yet, without an error, and Reason says what for: what is published is as before.
	Unwritten bool
	// Err is why this Publication was refused or could not be written; other Publications of the call are not touched by it.
	Err error
}

// written tells whether the records stand as they were given.
func (s Status) written() bool { return s.Err == nil && !s.Unwritten }
