package route53emulator

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Operation is a call of the API, by the name that the SDK gives it.
type Operation string

// The operations that are emulated.
const (
	CreateHostedZone         Operation = "CreateHostedZone"
	GetHostedZone            Operation = "GetHostedZone"
	ListHostedZones          Operation = "ListHostedZones"
	ListHostedZonesByName    Operation = "ListHostedZonesByName"
	DeleteHostedZone         Operation = "DeleteHostedZone"
	ListTagsForResource      Operation = "ListTagsForResource"
	ListTagsForResources     Operation = "ListTagsForResources"
	ChangeTagsForResource    Operation = "ChangeTagsForResource"
	ListResourceRecordSets   Operation = "ListResourceRecordSets"
	ChangeResourceRecordSets Operation = "ChangeResourceRecordSets"
	GetChange                Operation = "GetChange"
	CreateHealthCheck        Operation = "CreateHealthCheck"
	GetHealthCheck           Operation = "GetHealthCheck"
	ListHealthChecks         Operation = "ListHealthChecks"
	DeleteHealthCheck        Operation = "DeleteHealthCheck"
	GetHealthCheckStatus     Operation = "GetHealthCheckStatus"
)

// FaultKind is what goes wrong with a call.
type FaultKind int

// The kinds of faults.
const (
	// Throttled refuses the call as Route 53 does when too many requests arrive.
	Throttled FaultKind = iota + 1
	// Unavailable answers 503 ServiceUnavailable, before anything is applied.
	Unavailable
	// Denied answers 403 AccessDenied.
	Denied
	// Busy answers PriorRequestNotComplete.
	Busy
	// DroppedBefore cuts the connection before anything is applied.
	DroppedBefore
	// DroppedAfter applies the call, and cuts the connection instead of answering.
	DroppedAfter
)

// Fault makes calls fail.
type Fault struct {
	Kind FaultKind
	// Operation that fails; empty means any.
	Operation Operation
	// Skip is how many matching calls succeed first.
	Skip int
	// Times is how many calls fail; 0 means one, negative means all.
	Times int
}

// faults are what stands between a request and its operation. They are guarded by the server's lock.
type faults struct {
	calls  map[Operation]int
	queue  []Fault
	denied map[denial]bool
	// buckets of requests; the account's has the empty name.
	buckets map[Operation]*bucket
}

type denial struct{ accessKeyID, zoneID string }

func newFaults() faults {
	return faults{calls: map[Operation]int{}, denied: map[denial]bool{}, buckets: map[Operation]*bucket{}}
}

// Inject queues faults. If several match a call, the one that was injected first is used.
func (s *Server) Inject(injected ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.queue = append(s.faults.queue, injected...)
}

// ClearFaults removes all faults that are still queued.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.queue = nil
}

// Deny refuses an access key everything about a hosted zone; an empty zoneID means all that concerns no single zone.
func (s *Server) Deny(accessKeyID, zoneID string) { s.setDenied(denial{accessKeyID, zoneID}, true) }

// Allow takes Deny back.
func (s *Server) Allow(accessKeyID, zoneID string) { s.setDenied(denial{accessKeyID, zoneID}, false) }

func (s *Server) setDenied(d denial, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.denied[d] = denied
}

// Calls returns how many requests of an operation arrived, those that failed included; an empty operation means all.
func (s *Server) Calls(operation Operation) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if operation != "" {
		return s.faults.calls[operation]
	}
	total := 0
	for _, n := range s.faults.calls {
		total += n
	}
	return total
}

// ResetCalls sets all counters of calls to zero.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults.calls)
}

// next takes the fault of a call from the queue; 0 if there is none.
func (f *faults) next(operation Operation) FaultKind {
	for i := range f.queue {
		fault := &f.queue[i]
		switch {
		case fault.Operation != "" && fault.Operation != operation:
			continue
		case fault.Skip > 0:
			fault.Skip--
			continue
		}
		kind := fault.Kind
		if fault.Times > 1 {
			fault.Times--
		} else if fault.Times >= 0 {
			f.queue = slices.Delete(f.queue, i, i+1)
		}
		return kind
	}
	return 0
}

// bucket is a token bucket on the server's clock.
type bucket struct {
	capacity, refill float64 // tokens, tokens per second
	tokens           float64
	at               time.Time
}

// level is the number of tokens at now.
func (b *bucket) level(now time.Time) float64 {
	return min(b.capacity, b.tokens+now.Sub(b.at).Seconds()*b.refill)
}

// requestRates are the limits that differ from the default, of 50 tokens and 10 a second, which the account as a whole has too.
// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/throttling-api-requests.html
var requestRates = map[Operation]bucket{
	CreateHealthCheck:    {capacity: 50, refill: 0.5},
	CreateHostedZone:     {capacity: 40, refill: 2},
	DeleteHealthCheck:    {capacity: 15, refill: 3},
	DeleteHostedZone:     {capacity: 40, refill: 5},
	GetHealthCheckStatus: {capacity: 4, refill: 1},
}

// admit takes a token from the account's bucket and from the operation's, or from none if one of them is empty.
func (f *faults) admit(operation Operation, now time.Time) bool {
	both := []*bucket{f.bucket("", now), f.bucket(operation, now)}
	for _, b := range both {
		if b.level(now) < 1 {
			return false
		}
	}
	for _, b := range both {
		b.tokens, b.at = b.level(now)-1, now
	}
	return true
}

func (f *faults) bucket(operation Operation, now time.Time) *bucket {
	b := f.buckets[operation]
	if b == nil {
		rate, ok := requestRates[operation]
		if !ok {
			rate = bucket{capacity: 50, refill: 10}
		}
		b = &bucket{capacity: rate.capacity, refill: rate.refill, tokens: rate.capacity, at: now}
		f.buckets[operation] = b
	}
	return b
}

// apiError is the reply of a fault that has one.
func (k FaultKind) apiError() *apiError {
	switch k {
	case Throttled:
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/throttling-api-requests.html
		return &apiError{status: http.StatusBadRequest, code: "Throttling", message: "Rate exceeded"}
	case Unavailable:
		return &apiError{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "a fault was injected"}
	case Denied:
		return &apiError{status: http.StatusForbidden, code: "AccessDenied", message: "the access key may not do this"}
	case Busy:
		// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/DNSLimitations.html
		return &apiError{status: http.StatusBadRequest, code: "PriorRequestNotComplete", message: "an earlier change of the hosted zone is still being processed"}
	case DroppedBefore, DroppedAfter:
		return nil
	}
	return &apiError{status: http.StatusInternalServerError, code: "InternalFailure", message: fmt.Sprintf("fault of unknown kind %d", k)}
}
