package router

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// Reason is why a warning was given: the reason of the event, and a label of the metric penstock_router_warnings_total.
type Reason string

// The reasons of the dns-weighted router's warnings. Those of the skipper router begin with "Skipper".
const (
	// ReasonReconcile: something keeps the router from doing all that it should; what there is stays.
	ReasonReconcile Reason = "DNSReconcileFailed"
	// ReasonRefused: the cluster publisher cannot do what is desired as it is.
	ReasonRefused Reason = "DNSRefused"
	// ReasonHeld: a change of the configuration is not followed before the canary is over.
	ReasonHeld Reason = "DNSChangeHeld"
	// ReasonPublisher: the cluster publisher warns of what it holds, or of what it sees in DNS.
	ReasonPublisher Reason = "DNSPublisherWarning"
	// ReasonDraining: a drain takes longer than it should, and the canary is kept meanwhile.
	ReasonDraining Reason = "DNSDraining"
	// ReasonReleased: a drain counts as done because an operator said so.
	ReasonReleased Reason = "DNSDrainReleased"
	// ReasonAnswerMalformed: the publisher's side of the ConfigMap cannot be read and counts as missing.
	ReasonAnswerMalformed Reason = "DNSAnswerMalformed"
)

const (
	// eventInterval is how long an event is not repeated. Flagger's shortest tick is 10 s.
	eventInterval = 10 * time.Minute
	// maxMessage is how long the note of an event may be:
	// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
	maxMessage   = 1024
	eventSource  = "penstock"
	maxEventName = 253
)

// events tells people about a Canary, by Kubernetes' events. What cannot be told is logged; it is never an error of the caller.
type events struct {
	base    context.Context //nolint:containedctx // as the router that it serves; each call derives its own with a deadline
	kube    kubernetes.Interface
	log     *zap.SugaredLogger
	clock   clock.PassiveClock
	timeout time.Duration
	metrics *metrics

	mu   sync.Mutex
	told map[told]time.Time // guarded by mu
}

// told identifies what need not be said again soon.
type told struct {
	namespace, canary string
	reason            Reason
	message           string
}

func newEvents(ctx context.Context, kube kubernetes.Interface, log *zap.SugaredLogger, passive clock.PassiveClock, timeout time.Duration, m *metrics) *events {
	return &events{base: ctx, kube: kube, log: log, clock: passive, timeout: timeout, metrics: m, told: map[told]time.Time{}}
}

// warn records a warning, unless the same one was recorded in the last ten minutes.
func (e *events) warn(canary *flaggerv1.Canary, reason Reason, message string) {
	e.metrics.warned(canary, reason)
	now, what := e.clock.Now(), told{canary.Namespace, canary.Name, reason, message}
	if !e.isNew(what, now) {
		return
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	ctx, cancel := context.WithTimeout(e.base, e.timeout)
	defer cancel()
	_, err := e.kube.CoreV1().Events(canary.Namespace).Create(ctx, newEvent(canary, reason, message, now), metav1.CreateOptions{})
	e.metrics.wrote("event", err)
	if err != nil {
		e.forget(what)
		e.log.Warnw("event not recorded", "canary", canary.Name+"."+canary.Namespace, "reason", reason, "error", err)
	}
}

func (e *events) isNew(what told, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.told, func(_ told, at time.Time) bool { return now.Sub(at) >= eventInterval })
	if _, ok := e.told[what]; ok {
		return false
	}
	e.told[what] = now
	return true
}

// forget lets what could not be told be told again.
func (e *events) forget(what told) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.told, what)
}

// newEvent refers to the Canary by hand, because a Canary that was read through a typed client does not know its kind.
func newEvent(canary *flaggerv1.Canary, reason Reason, message string, now time.Time) *corev1.Event {
	sum := sha256.Sum256([]byte(string(reason) + message))
	suffix := fmt.Sprintf(".%x.%s", now.UnixNano(), hex.EncodeToString(sum[:4]))
	name := strings.TrimRight(canary.Name[:min(len(canary.Name), maxEventName-len(suffix))], "-.")
	at := metav1.NewTime(now)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: canary.Namespace, Name: name + suffix},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: flaggerv1.SchemeGroupVersion.String(), Kind: flaggerv1.CanaryKind,
			Namespace: canary.Namespace, Name: canary.Name, UID: canary.UID, ResourceVersion: canary.ResourceVersion,
		},
		Type: corev1.EventTypeWarning, Reason: string(reason), Message: message,
		Source: corev1.EventSource{Component: eventSource}, ReportingController: eventSource,
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
}
