"""Programs that use only the public interface of jaxconv."""
