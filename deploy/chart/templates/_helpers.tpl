{{- define "signal-broker.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Room is left for the longest suffix of a name that is a label, too. */ -}}
{{- define "signal-broker.fullname" -}}
{{- $name := include "signal-broker.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{ default $default .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "signal-broker.selector" -}}
app.kubernetes.io/name: {{ include "signal-broker.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "signal-broker.labels" -}}
{{ include "signal-broker.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "signal-broker.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "signal-broker.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- /* Large numbers in values are floats, which would print as 2.097152e+06. */ -}}
{{- define "signal-broker.string" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- define "signal-broker.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ include "signal-broker.string" $value | quote }}
{{- end }}
{{- end }}

{{- define "signal-broker.secrets" -}}
{{- range $name, $value := .Values.secrets }}
{{- if or (contains "replace-me" $value) (contains "cmVwbGFjZS1tZS" $value) }}
{{- fail (printf "secrets.%s is the placeholder of an example: put your own value there" $name) }}
{{- end }}
{{ $name }}: {{ b64enc $value }}
{{- end }}
{{- end }}

{{- define "signal-broker.secret" -}}
{{ default (include "signal-broker.fullname" .) .Values.existingSecret }}
{{- end }}

{{- define "signal-broker.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end }}
