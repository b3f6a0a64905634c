// Package flaggersim plays Flagger: it calls a router in exactly the order of Flagger's scheduler, tick by tick, for every strategy, and
// keeps the Canary's status as Flagger keeps it, so that a fresh process goes on from there. Tests run it on a virtual clock, the
// demo in real time.
//
// What Flagger does to workloads, metrics and webhooks is behind [Hooks]. Each branch of [Driver.Tick] names the line it repeats, of
// Flagger v1.44.0: https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go
package flaggersim
