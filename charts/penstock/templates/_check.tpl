{{/* Whether a number or a time is another one than 0: true, or nothing. 0, 0s and 0m are texts that are not empty. */}}
{{- define "penstock.isSet" -}}
{{- if regexMatch "[1-9]" (toString .) }}true{{ end -}}
{{- end -}}

{{/* Whether extraArgs have the flag of an option, given the root and the option: true, or nothing. */}}
{{- define "penstock.inExtraArgs" -}}
{{- $flag := get (include "penstock.flags" . | fromYaml) (last .) -}}
{{- range (first .).Values.extraArgs }}{{ if regexMatch (printf "^--?%s(=|$)" $flag) . }}true{{ end }}{{ end -}}
{{- end -}}

{{/* What the schema cannot say, or not in words. */}}
{{- define "penstock.check" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.options.enableLeaderElection) -}}
{{- fail (printf "replicas %d: several controllers need options.enableLeaderElection, or all of them write" (int .Values.replicas)) -}}
{{- end -}}
{{- if eq (include "penstock.metricsPort" .) (include "penstock.healthPort" .) -}}
{{- fail (printf "options.metricsAddr and options.healthAddr both have port %s: give them different ones" (include "penstock.metricsPort" .)) -}}
{{- end -}}
{{- include "penstock.checkSync" . -}}
{{- include "penstock.checkRamp" . -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if and $budget.enabled (eq (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget: set one of minAvailable and maxUnavailable, and the other to null" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.checkSync" -}}
{{- $o := .Values.options -}}
{{- if and (include "penstock.isSet" $o.assumeSyncAfter) $o.dnsResolvers -}}
{{- fail (printf "options.assumeSyncAfter %s: either DNS is asked, as with options.dnsResolvers, or it is not: unset one" $o.assumeSyncAfter) -}}
{{- end -}}
{{- range list "pollInterval" "innerTTL" "rampInterval" -}}
{{- if and (get $o .) (not (include "penstock.isSet" (get $o .))) -}}
{{- fail (printf "options.%s %s: write at least 1s, or unset it" . (get $o .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What is missing here may be in extraArgs, with a variable perhaps. */}}
{{- define "penstock.checkRamp" -}}
{{- $o := .Values.options -}}
{{- $step := include "penstock.isSet" $o.rampStep -}}
{{- if and $step (include "penstock.isSet" $o.assumeSyncAfter) -}}
{{- fail (printf "options.rampStep %d: a step waits until DNS answers with the one before, which is not asked with options.assumeSyncAfter: unset one" (int $o.rampStep)) -}}
{{- end -}}
{{- if and $step (eq ($o.backendType | default "fake") "fake") (not (include "penstock.inExtraArgs" (list . "backendType"))) -}}
{{- fail (printf "options.rampStep %d: a gradual move must be stored to outlast a restart: set options.backendType to configmap or dynamoDB" (int $o.rampStep)) -}}
{{- end -}}
{{- if not (or $step (include "penstock.inExtraArgs" (list . "rampStep"))) -}}
{{- range list "rampQuery" "rampHealthCheck" "rampReady" -}}
{{- $gate := get $o . -}}
{{- if and $gate (or (ne . "rampReady") (include "penstock.isSet" $gate)) -}}
{{- fail (printf "options.%s: gates are asked between steps: set options.rampStep, or unset it" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $least := not (kindIs "invalid" $o.rampQueryMin) -}}
{{- $greatest := not (kindIs "invalid" $o.rampQueryMax) -}}
{{- if $o.rampQuery -}}
{{- if not (or $least $greatest (include "penstock.inExtraArgs" (list . "rampQueryMin")) (include "penstock.inExtraArgs" (list . "rampQueryMax"))) -}}
{{- fail (printf "options.rampQuery %s: no value would refuse: set options.rampQueryMin, options.rampQueryMax, or both" $o.rampQuery) -}}
{{- end -}}
{{- if not (or $o.prometheusURL (include "penstock.inExtraArgs" (list . "prometheusURL"))) -}}
{{- fail (printf "options.rampQuery %s: nobody would be asked: set options.prometheusURL" $o.rampQuery) -}}
{{- end -}}
{{- else if and (or $least $greatest) (not (include "penstock.inExtraArgs" (list . "rampQuery"))) -}}
{{- fail "options.rampQueryMin and options.rampQueryMax are about a query: set options.rampQuery, or unset them" -}}
{{- end -}}
{{- if and $least $greatest (gt (float64 $o.rampQueryMin) (float64 $o.rampQueryMax)) -}}
{{- fail (printf "options.rampQueryMin %v is above options.rampQueryMax %v, so that no value is right: correct the range" $o.rampQueryMin $o.rampQueryMax) -}}
{{- end -}}
{{- end -}}
