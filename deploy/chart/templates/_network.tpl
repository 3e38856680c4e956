{{- define "signal-broker.ports" -}}
ports:
  {{- range . }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}

{{- /* What every pod may reach, without what it traces. A rule without ports would be one for all. */ -}}
{{- define "signal-broker.egress" -}}
{{- with .dnsPorts }}
- ports:
    {{- range . }}
    - {protocol: UDP, port: {{ . }}}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- range list (dict "ports" .rabbitmqPorts "to" .rabbitmqTo) (dict "ports" .postgresqlPorts "to" .postgresqlTo) }}
{{- if .ports }}
- {{ include "signal-broker.ports" .ports | nindent 2 | trim }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "signal-broker.public" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except: {{- toYaml .except | nindent 6 }}
- ipBlock:
    cidr: ::/0
    except: {{- toYaml .exceptIPv6 | nindent 6 }}
{{- end }}

{{- /* The ports of the issuer whose tokens gateways accept, and of its keys. */ -}}
{{- define "signal-broker.issuerPorts" -}}
{{- range compact (list .settings.SIGNAL_BROKER_OIDC_ISSUER .settings.SIGNAL_BROKER_OIDC_JWKS_URL (get (default dict .secrets) "SIGNAL_BROKER_OIDC_JWKS_URL")) }}
{{- $url := urlParse . }}
- {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (eq $url.scheme "http" | ternary "80" "443") }}
{{- end }}
{{- end }}
