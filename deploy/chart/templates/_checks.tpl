{{- /*
Fails if a pod could not do its work with its variables. Takes a dict: root, component, isProcess, extraEnv, env (with that of the
chart) and mounts.
*/ -}}
{{- define "signal-broker.checkPod" -}}
{{- $values := .root.Values }}
{{- $settings := $values.settings }}
{{- $following := dict "SIGNAL_BROKER_MAX_BODY_BYTES" "memory limits" }}
{{- range list "SIGNAL_BROKER_HTTP_PORT" "SIGNAL_BROKER_METRICS_PORT" "SIGNAL_BROKER_DRAIN_TIMEOUT_SECONDS" }}
{{- $_ := set $following . "probes, ports and grace periods" }}
{{- end }}
{{- range .extraEnv }}
{{- if hasKey $following .name }}
{{- fail (printf "extraEnv has %s, which %s follow: set settings.%s" .name (get $following .name) .name) }}
{{- end }}
{{- end }}
{{- $given := dict }}
{{- range .env }}
{{- $_ := set $given .name . }}
{{- end }}
{{- range include "signal-broker.required" . | fromYamlArray }}
{{- if not (or $values.existingSecret (get (default dict $values.secrets) .) (get $given .)) }}
{{- fail (printf "secrets.%s is missing; set it, or existingSecret, or have it in extraEnv of all pods (%s has none)" . $.component) }}
{{- end }}
{{- end }}
{{- $host := default dict $given.SIGNAL_BROKER_HTTP_HOST | dig "value" (default "" $settings.SIGNAL_BROKER_HTTP_HOST) | toString }}
{{- if and .isProcess (regexMatch "^(127[.]|::1$|localhost$)" (lower $host)) }}
{{- fail (printf "SIGNAL_BROKER_HTTP_HOST is %s, where neither probes nor callers reach a pod: leave it empty" $host) }}
{{- end }}
{{- $directory := default dict $given.SIGNAL_BROKER_ARCHIVE_DIR | dig "value" (default "" $settings.SIGNAL_BROKER_ARCHIVE_DIR) | toString }}
{{- $kept := empty $directory }}
{{- range .mounts }}
{{- $kept = or $kept (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) (printf "%s/" $directory)) }}
{{- end }}
{{- if and (eq .component "scheduler") (not $kept) }}
{{- fail (printf "SIGNAL_BROKER_ARCHIVE_DIR is %s, where schedulers have no volume: set archive.enabled instead, or mount one there by scheduler.pod" $directory) }}
{{- end }}
{{- end }}
