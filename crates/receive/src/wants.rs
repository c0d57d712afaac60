//! Which log lines and fields of reception the log selectors let through. Looked up once. Manual section 53.15.

use oxim_spool::log::{LogSelectors, Selector};

macro_rules! wants {
    ($($field:ident $selector:ident;)*) => {
        /// One flag for each selector that reception asks for.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Wants {
            $(#[doc = concat!("Selector `", stringify!($field), "`.")] pub $field: bool,)*
        }

        impl Wants {
            /// Reads the selectors.
            #[must_use]
            pub fn of(selectors: LogSelectors) -> Wants {
                Wants { $($field: selectors.has(Selector::$selector),)* }
            }
        }
    };
}

wants! {
    eight_bit_mime EightBitMime;
    acl_warn_skipped AclWarnSkipped;
    connection_reject ConnectionReject;
    delay_delivery DelayDelivery;
    dkim Dkim;
    dkim_verbose DkimVerbose;
    dmarc Dmarc;
    dmarc_verbose DmarcVerbose;
    etrn Etrn;
    host_lookup_failed HostLookupFailed;
    ident_timeout IdentTimeout;
    incoming_interface IncomingInterface;
    incoming_port IncomingPort;
    connection_id ConnectionId;
    lost_incoming_connection LostIncomingConnection;
    millisec Millisec;
    msg_id MsgId;
    msg_id_created MsgIdCreated;
    pipelining Pipelining;
    proxy Proxy;
    receive_time ReceiveTime;
    received_recipients ReceivedRecipients;
    received_sender ReceivedSender;
    rejected_header RejectedHeader;
    sender_verify_fail SenderVerifyFail;
    size_reject SizeReject;
    smtp_connection SmtpConnection;
    smtp_incomplete_transaction SmtpIncompleteTransaction;
    smtp_mailauth SmtpMailauth;
    smtp_no_mail SmtpNoMail;
    smtp_protocol_error SmtpProtocolError;
    smtp_syntax_error SmtpSyntaxError;
    subject Subject;
    tls_certificate_verified TlsCertificateVerified;
    tls_cipher TlsCipher;
    tls_peerdn TlsPeerdn;
    tls_resumption TlsResumption;
    tls_sni TlsSni;
}

impl Wants {
    /// Whether errors of a kind (`syntax`, `protocol`) are logged.
    #[must_use]
    pub fn for_error(&self, kind: &str) -> bool {
        if kind == "syntax" { self.smtp_syntax_error } else { self.smtp_protocol_error }
    }
}
